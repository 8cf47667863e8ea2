"""Puts updates on this host and takes them off: disk first, memory second, read back;
and after a boot what disk and journal say of what runs."""
