"""Vast.ai: containers on other people's machines, over its REST API.

provider                                   the contract of gpu_providers.base; all else is behind it
offers, instances                          what is sold, and what is made of it
boot, logs, doctor                         how it goes
options, names, query, asks                between Vast.ai's words for what is sold and ours
packing, unpack, instance_answers          between its words for what runs and ours
client, answers, refusals                  the API on the wire
pages, search_cache                        a search, to its end and not too often
credentials                                whose account
"""
