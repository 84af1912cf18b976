"""WHERE it runs: back-ends that take packs and see to it that they are recorded. Imports sweep."""
