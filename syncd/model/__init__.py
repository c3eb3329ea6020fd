"""Pure. The data model of a folder: names, blocks, records, changesets, and the laws that join and show them."""
