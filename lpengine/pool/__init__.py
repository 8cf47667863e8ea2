"""Many hosts: what pools there are, what is observed of them at once, and updates
carried over them, coordinator first, pools side by side, stopping at a failure."""
