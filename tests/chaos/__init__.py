"""Chaos: real processes, disturbed at drawn moments, have to end right all the same.

``cluster`` runs Valkey, the API and two workers; ``wire`` is the network between them; ``faults``
are what is done to them; ``oracle`` says what is right; ``runs`` puts them together.
"""
