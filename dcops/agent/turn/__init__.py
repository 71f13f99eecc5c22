"""One turn: what is asked, said, run and written until the agent is done."""
