"""The model's side: from a history to a request, from the API's stream to blocks."""
