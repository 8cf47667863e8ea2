"""Values to text and JSON; nothing below this room prints."""
