"""Ring-3 processors behind one interface."""
