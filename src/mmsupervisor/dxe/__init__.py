"""The world outside MM: PEI and DXE phases, events, relays."""
