"""x86-64: decoding, encoding, byte patterns (capstone and keystone live here only)."""
