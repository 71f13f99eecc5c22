"""What runs instances: processes or containers, behind one protocol."""
