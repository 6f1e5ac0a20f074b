"""Records of protocol runs: which of the twenty steps was carried out when, and by which party."""
