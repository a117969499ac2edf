"""What is said of image files that cannot be used."""


class ImageError(ValueError):
    """An image that cannot be used; the message begins with its name and ends with the cure."""
