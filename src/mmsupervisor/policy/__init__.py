"""The isolation policy: model, blob, decisions and checks."""
