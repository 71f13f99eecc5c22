"""From what the model writes to what runs: validation, the gate, and dispatch."""
