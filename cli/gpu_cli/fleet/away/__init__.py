"""The guard at Modal, for what cannot end itself while this machine is off."""
