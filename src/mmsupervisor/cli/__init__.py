"""The mmsup command: parses arguments, calls, renders."""
