"""What the outside says to MM drivers."""
