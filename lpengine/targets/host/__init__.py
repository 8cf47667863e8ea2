"""What a whole host shows of itself, whoever set it up: XenServer, a plain Debian
Xen, a plain Linux. Nothing has to be installed there; it is looked at from outside,
through any `Host`, with one script."""
