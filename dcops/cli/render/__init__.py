"""Three views of one event stream, and the text of plans and errors."""
