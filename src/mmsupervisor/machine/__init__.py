"""Physical memory as one interval map, port, MSR and MMIO routing, save state, events."""
