"""Which artifact answers for a reference: listings, and the indexes of archives."""
