"""How fast the chain is on this machine, beside the obvious one."""
