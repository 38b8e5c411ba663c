"""Lambda Cloud: whole virtual machines, ordered over its REST API and set up over SSH.

provider                                   the contract of gpu_providers.base; all else is behind it
offers, launching, instances, filesystems  what is sold, and what is made of it
machines, parcel, ssh_keys, user_data      what this side knows of a machine, and prepares for it
ssh, set_up, on_machine                    how a machine that is up comes to run the engine
firewall                                   who may reach one that is public
logs, doctor                               how it goes
options, names, tags, instance_answers     between Lambda's words and ours
client, refusals, pacing                   the API on the wire, and not too often
credentials                                whose account
"""
