"""RunPod: pods and serverless endpoints over its REST API v2.

provider                                   the contract of gpu_providers.base; all else is behind it
offers, pods, endpoints, volumes           what is sold, and what is made of it
boot, logs, doctor                         how it goes
options, names, marks, pod_answers         between RunPod's words and ours
client, log_lines, refusals, values        the API on the wire
credentials, urls                          whose account, and where it is
"""
