"""The live web page: what the camera sees beside what is made of it, with its controls, metrics and health."""
