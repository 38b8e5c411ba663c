"""The way to an engine that runs: links, forwarders, tunnels, and what is said over them."""
