"""What the model may use: each tool in its own module, behind one protocol."""
