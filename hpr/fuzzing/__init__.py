"""Wild input for the readers, the settings and the images, to find what they do not stand up to."""
