"""WHAT is computed: specs, runs, packs, training, measures, records and the store. Imports no other folder."""
