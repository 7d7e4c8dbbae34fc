"""One module per picture file format; ``sfumato_image.formats`` names them."""
