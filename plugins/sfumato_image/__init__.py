"""Photographs and other pictures: files, operators, priors, metrics."""

from sfumato.plugin import Plugin

__all__ = ["PLUGIN"]

PLUGIN = Plugin(
    name="image",
    summary="photographs and other pictures: restore, enlarge, colour, generate",
    install="'sfumato[image]'",
    requires=("PIL", "skimage", "tifffile", "imagecodecs"),
    formats={
        "png": "sfumato_image.formats:PNG",
        "jpeg": "sfumato_image.formats:JPEG",
        "tiff": "sfumato_image.formats:TIFF",
        "webp": "sfumato_image.formats:WebP",
    },
    operators={
        "inpaint": "sfumato_image.operators:Inpaint",
        "super-resolve": "sfumato_image.operators:SuperResolve",
        "deblur": "sfumato_image.operators:Deblur",
        "denoise": "sfumato_image.operators:Denoise",
        "dejpeg": "sfumato_image.operators:DeJPEG",
        "colorize": "sfumato_image.operators:Colorize",
        "declip": "sfumato_image.operators:Declip",
    },
    backbones={
        "unet": "sfumato.networks.unet:UNet",
        "diffusers-unet2d": "sfumato_image.backbones:DiffusersUNet2D",
    },
    priors={
        "photo": "sfumato_image:weights/photo",
        "digits": "sfumato_image:weights/digits",
    },
    datasets={"pictures": "sfumato_image.datasets:Pictures"},
    metrics={
        "psnr": "sfumato_image.metrics:psnr",
        "ssim": "sfumato_image.metrics:ssim",
        "mae": "sfumato_image.metrics:mae",
        "el0": "sfumato_image.perceptual:el0",
    },
    baselines={
        "bicubic": "sfumato_image.rivals:bicubic",
        "lanczos": "sfumato_image.rivals:lanczos",
        "wiener": "sfumato_image.rivals:wiener",
        "tv": "sfumato_image.rivals:tv",
        "nlm": "sfumato_image.rivals:nlm",
        "wavelet": "sfumato_image.rivals:wavelet",
        "biharmonic": "sfumato_image.rivals:biharmonic",
        "grey": "sfumato_image.rivals:grey",
    },
    converters={
        "diffusers": "sfumato_image.pretrained:from_diffusers",
        "to_diffusers": "sfumato_image.pretrained:to_diffusers",
    },
    pictures="sfumato_image.pictures:picture",
    equal_channels=True,
    demo="sfumato_image.demo:run",
)
