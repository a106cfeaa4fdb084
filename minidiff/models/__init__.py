"""The networks.  They know no training: a network is what it computes."""

from minidiff.models.adapter import Adapter, followed, stages_of
from minidiff.models.attention import Attention, attend, attention_weights
from minidiff.models.autoencoder import Autoencoder, AutoencoderConfig, Decoder, Encoder, kl_to_normal
from minidiff.models.blocks import Block, Down, ResBlock, Up, norm, time_embedding, zero_init
from minidiff.models.bridge import BridgeConfig, SoundTower, look_up
from minidiff.models.classifier import Classifier, ClassifierConfig
from minidiff.models.clip import Clip, ClipConfig, ImageTower, contrastive_loss, sigmoid_loss
from minidiff.models.controlnet import Controlled, ControlNet, zero_conv
from minidiff.models.dit import DiT, DiTConfig
from minidiff.models.editor import Editor
from minidiff.models.gpt import GPTConfig, TinyGPT, next_token_probs, next_word_loss
from minidiff.models.joint import Environment, Joint, JointConfig, Listening, Together
from minidiff.models.lora import Lora, loras, merged, with_lora
from minidiff.models.mlp import PointConfig, PointDenoiser
from minidiff.models.motion import MotionConfig, MotionModule, Moving, TimeLayer, along_time, as_pictures
from minidiff.models.new_words import MoreWords, with_word
from minidiff.models.shared_attention import sharing
from minidiff.models.text_encoder import TextConfig, TextEncoder, end_state, spoken
from minidiff.models.unet import (
    DIGIT_PICTURES,
    DIGIT_PICTURES_LARGE,
    LATENTS,
    LATENTS_LARGE,
    Stage,
    UNet,
    UNetConfig,
)
from minidiff.models.vit import ViT, ViTConfig, to_patches
