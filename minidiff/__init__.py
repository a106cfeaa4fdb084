"""minidiff: a miniature Stable Diffusion, every part of it trained by you, on a laptop.

One letter per axis, in the whole book:

    B  batch            L  caption tokens     P  picture tokens (patches, or latent places)
    D  width            h  heads              d  width of one head
    C  channels         H  height             W  width of a picture
    S  noise levels: level 0 is the clean picture, level S is pure noise

Pictures are float tensors (B, C, 32, 32) in [-1, 1].  A denoiser is any function
`eps = denoise(xt, t, cond=None)` with xt (B, ...) and integer levels t (B,).

Papers cited by a short name:
    DDPM   Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic models
    DDIM   Song, Meng & Ermon 2021, Denoising diffusion implicit models
    EDM    Karras, Aittala, Aila & Laine 2022, Elucidating the design space of diffusion-based generative models
    ADM    Dhariwal & Nichol 2021, Diffusion models beat GANs on image synthesis
    CLIP   Radford et al. 2021, Learning transferable visual models from natural language supervision
    SupCon Khosla et al. 2020, Supervised contrastive learning
    Muon   Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks
"""

__version__ = "0.1.0"
