"""Words of the PI and UEFI specifications as values: GUIDs, statuses, HOBs, volumes, images, dependency expressions."""
