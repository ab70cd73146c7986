"""The whole hand-over of an image from one job to the next, in all the ways that compete."""
