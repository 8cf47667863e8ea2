"""Updates: live patches for memory, files for the disk, and guidance for after."""
