"""minidiff: a miniature Stable Diffusion, every part of it trained by you, on a laptop.

The house, in reading order: the subject first, the machinery after it.

    __main__.py             the command line: python -m minidiff train | draw | read | score | ...
    beside.py               its commands of Part II: teach | control | edit | film | say | both
    options.py              what it understands: its commands and their options

    data/                   what is learned from
        digits.py           handwritten digits as pictures
        captions.py         four attributes, a sentence, token ids: here a caption becomes numbers
        grammar.py          the language of captions: its texts, their shares, its exact entropy
        rendering.py        a digit becomes thick or thin, leans, and is colored
        captioned_digits.py digits with every rendering and caption, and random batches of them
        skewed.py           digits of which one mostly has one color
        ink.py              where the ink is in a photo or a scan, and how MNIST would have written it down
        pictures.py         the door for a person's own pictures: any file becomes one that the networks know
        edits.py            instructions that change a picture, such as "make it red"
        skeletons.py        a digit thinned to lines one pixel wide
        pens.py             strokes of a pen, found in a scan and drawn again
        wishes.py           looks for which the captions have no word: orange, small, outlined
        folders.py          a folder of one's own pictures, with captions, with labels, or without either
        augment.py          small random changes, so that no picture is seen twice
        clouds.py           points on a plane whose density is known exactly
        clips.py            digits that turn, grow, shrink and move, frame by frame
        sounds.py           a voice that says digits: harmonics under moving formants, and shaped noise
        spectrograms.py     a sound becomes a picture, and a picture becomes a sound again
        spoken.py           spoken digits with captions, such as "a high fast seven"
    diffusion/              the mathematics on (xt, t, eps); it knows no network
        schedule.py         signal and noise at each level: noise is added here; eps, x0, v and score
        levels.py           which noise levels to draw through, and which to train on
        losses.py           what a denoiser is trained on
        samplers.py         from noise to picture: DDIM, DDPM, Heun and Langevin steps, and their loop
        guidance.py         classifier-free guidance, clipping, inpainting
        exact.py            the best possible denoiser, where the density is known
        flow.py             diffusion as a flow: Heun's method in the angle, circle and chord, straightness
        distillation.py     what a student of few steps learns from its teacher
    models/                 the networks; they know no training
        attention.py        attention, with the weights to look at
        blocks.py           parts of several networks: time embedding, residual and transformer block, Up and Down
        mlp.py              a denoiser of points
        gpt.py              a tiny GPT, which guesses the next word
        vit.py              a picture cut into patches that attend to each other
        text_encoder.py     token ids become one state per word
        clip.py             two towers: pictures and captions in one space, and their losses
        unet.py             the denoiser; skip connections are handed across and joined here
        dit.py              the denoiser as a transformer
        autoencoder.py      pictures to latents and back
        classifier.py       the network that reads digits
        new_words.py        an adapter: one learned vector for a word that a frozen text tower does not know
        lora.py             an adapter: thin weights that learn beside frozen ones
        controlnet.py       an adapter: a copy of the UNet's way down that follows a sketch
        editor.py           a UNet that sees the picture to be changed beside the noisy one
        motion.py           an adapter: layers behind each stage of the UNet that look along time
        bridge.py           sounds in the space of captions and pictures, and a look-up from there to conditions
        joint.py            an adapter: layers through which two frozen denoisers listen to each other
        shared_attention.py  two captions drawn from one noise, which look at their words alike
        adapter.py          what is kept of networks that are mostly frozen, and layers behind a UNet's stages
    evaluation/             a number about quality
        readers.py          what is in a picture: its digit, color, stroke and lean
        wishes.py           did a wish come true for which the captions have no word?
        metrics.py          accuracy, Frechet distance, diversity, PSNR, recall, nearest neighbors
        groups.py           the share that is right in each group, and so in the worst
        clouds.py           Wasserstein distance, modes found, loss above the exact floor
        likelihood.py       bits per pixel
        motion.py           what moves in a film, and is it the same digit?
        sounds.py           how high a voice is, how fast it speaks, when it begins, and which digit it says
    pipelines/              one file for each thing that is trained and run
        toy.py              trains the denoiser of points
        language.py         trains the GPT, which then writes captions and makes terse ones longer
        clip.py             trains CLIP
        denoiser.py         trains a UNet, or another denoiser of pictures or latents
        digits.py           trains a UNet that draws digits in pixels
        autoencoder.py      trains the autoencoder
        classifier.py       trains the digit classifier
        text2image.py       trains all parts and joins them: from a caption to a picture
        own_pictures.py     trains a UNet on a folder of one's own pictures
        report.py           measures the whole machine
        few_steps.py        trains a student that draws in one call, or in a few
        personalize.py      teaches the machine new words, and joins several adapters
        control.py          teaches the machine to follow a sketch
        instruct.py         teaches the machine to change a picture as a sentence says
        video.py            teaches the machine to draw films
        sound.py            trains the machine that speaks
        bridge.py           trains the tower of sounds; what pictures and sounds tell a machine to draw
        joint.py            teaches two machines to agree
        bias.py             machines and readers that learn from skewed digits, and ways to repair them

    training/               how anything is trained
        loop.py             the recipe and the training loop, which can be killed and goes on
        ema.py              the moving average of the weights
        muon.py             the optimizer
        checkpoint.py       weights and their description in one file
    tools/                  what is in no paper
        setup.py            makes .venv and keeps it right, before anything is installed
        runtime.py          device, number format, seeds, budgets
        checks.py           one-line checks for what a person hands in
        files.py            files written whole or not at all, one training at a time
        study.py            results of long comparisons, kept as JSON
        show.py             figures: pictures, captions, curves
        show_plane.py       figures: points, densities and fields on a plane
        show_attention.py   figures: attention weights
        show_sound.py       figures: waves and spectrograms; players and files of sounds
    exercises/              exercises that check themselves
        __main__.py         their command line: python -m minidiff.exercises
        form.py             what an exercise is
        checker.py          is an answer right, and if not, which mistake is it?
        answers.py          reads a file of answers in whatever form it is handed in
        differences.py      what is wrong with an outcome, in words
        ch1.py ch1b.py ch2.py ch2b.py ch3.py ch4.py ch4b.py ch5.py ch6.py ch6b.py ch7.py ch7b.py ch8.py
        ch9.py ch9b.py ch10.py ch10b.py ch11.py ch11b.py ch13.py
                            one per notebook

Where does a new thing go?
    To draw or make data: data.  Mathematics on (xt, t, eps) for any denoiser: diffusion.  A number about quality:
    evaluation.  An `nn.Module`: models; an adapter is one, so LoRA goes to models/lora.  What trains or runs several
    of these: pipelines.  What is in no paper: tools.  A thing that fits two rooms is two things.
    A room imports only from rooms on lower floors: tools 1; data, diffusion, training 2; models, evaluation 3;
    pipelines 4; exercises, options and beside 5; __main__ 6.  Inside a room the imports form no circle.

One letter per axis, in the whole book:

    B  batch            L  caption tokens     P  picture tokens (patches, or latent places)
    D  width            h  heads              d  width of one head
    C  channels         H  height             W  width of a picture
    F  frames of a film
    S  noise levels: level 0 is the clean picture, level S is pure noise

Pictures are float tensors (B, C, 32, 32) in [-1, 1].  A denoiser is any function
`eps = denoise(xt, t, cond=None)` with xt (B, ...) and integer levels t (B,).

Papers cited by a short name:
    DDPM     Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic models
    DDIM     Song, Meng & Ermon 2021, Denoising diffusion implicit models
    EDM      Karras, Aittala, Aila & Laine 2022, Elucidating the design space of diffusion-based generative models
    ADM      Dhariwal & Nichol 2021, Diffusion models beat GANs on image synthesis
    CLIP     Radford et al. 2021, Learning transferable visual models from natural language supervision
    RePaint  Lugmayr et al. 2022, RePaint: inpainting using denoising diffusion probabilistic models
    SupCon   Khosla et al. 2020, Supervised contrastive learning
    Muon     Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks
"""

__version__ = "0.1.0"
