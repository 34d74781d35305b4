"""Device models: flash, serial, CMOS, PM timer, PCI configuration, APM."""
