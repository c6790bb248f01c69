"""The frozen CLIP backbone, written from scratch with the tensor names of OpenAI."""
