"""Modal: web functions and servers that run only while they are asked, deployed with Modal's own SDK.

provider                                      the contract of gpu_providers.base; all else is behind it
offers, cards, rates, options                 what is sold, and for how much
launching, blueprint, image, deploying,
sources                                       how an app comes to be, with what runs in it
tokens, probe, volumes                        what else an app needs at Modal
apps, lifecycle, service, containers          what Modal says of one, without waking it
running_cost, boot, logs, doctor              how it goes
tags                                          between Modal's words and ours
session, credentials, reach, refusals, quiet  the SDK: whose account, and what it says
"""
