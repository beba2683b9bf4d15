"""Everything that a device without a network needs, in one archive, and the script that installs it there."""
