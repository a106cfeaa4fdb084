"""minidiff: a miniature Stable Diffusion, every part of it trained by you, on a laptop.

One letter per axis, in the whole book:

    B  batch            L  caption tokens     P  picture tokens (patches, or latent places)
    D  width            h  heads              d  width of one head
    C  channels         H  height             W  width of a picture
    S  noise levels: level 0 is the clean picture, level S is pure noise

Pictures are float tensors (B, C, 32, 32) in [-1, 1].  A denoiser is any function
`eps = denoise(xt, t, cond=None)` with xt (B, ...) and integer levels t (B,).

The files in the order in which the chapters meet them: runtime, data, captions, schedule, objectives,
samplers, attention, blocks, train, toy, transformer, unet, autoencoder, clip, metrics, text2image, show.
"""

__version__ = "0.1.0"
