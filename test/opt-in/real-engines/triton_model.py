# A model for Triton's Python backend that makes its tokens with llama.cpp, in a thread for each request. Its inputs and outputs are those
# of the model's config: named as vLLM's backend names them (src/model.py and src/utils/request.py of triton-inference-server/vllm_backend)
# or as TensorRT-LLM's does (tensorrt_llm_bls/config.pbtxt of NVIDIA/TensorRT-LLM). Triton itself, and with it HTTP, is the real one.
import http.client
import json
import os
import socket
import threading
from urllib.parse import urlparse

import numpy as np
import triton_python_backend_utils as pb_utils
import xllamacpp

# The backend's own calls, from several threads.
ONE_AT_A_TIME = threading.Lock()


class Client:
    """Who asks. Triton 2.51 crashes when it is asked for a cancel behind the last response."""

    def __init__(self, sender):
        self.sender = sender
        self.over = False
        self.left = False

    def send(self, response, last):
        with ONE_AT_A_TIME:
            if self.over:
                return
            self.over = last
            flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0
            if response is None:
                self.sender.send(flags=flags)
            else:
                self.sender.send(response, flags=flags)

    def leave_when_cancelled(self, connection, over):
        while not over.wait(0.005):
            with ONE_AT_A_TIME:
                self.left = not self.over and self.sender.is_cancelled()
            if self.left:
                connection.shutdown(socket.SHUT_RDWR)
                return


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = {each["name"] for each in config["input"]}
        self.outputs = {each["name"] for each in config["output"]}
        params = xllamacpp.CommonParams()
        params.model.path = os.environ["TRITON_MODEL_GGUF"]
        params.n_parallel = 4
        params.n_ctx = 4 * 1024
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        params.n_gpu_layers = 0
        params.port = 0
        self.llama = xllamacpp.Server(params)
        self.family = pb_utils.MetricFamily(
            name="model_requests_running", description="Requests that a model works on", kind=pb_utils.MetricFamily.GAUGE
        )
        self.running = self.family.Metric(labels={"model": args["model_name"]})
        self.address = urlparse(self.llama.listening_address)

    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, Client(request.get_response_sender())), daemon=True).start()

    def answer(self, request, client):
        with ONE_AT_A_TIME:
            self.running.increment(1)
        try:
            self.generate(self.body(request), request, client)
        except ValueError as error:
            client.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))), last=True)
        finally:
            client.send(None, last=True)
            with ONE_AT_A_TIME:
                self.running.increment(-1)

    def value(self, request, name, default=None):
        tensor = pb_utils.get_input_tensor_by_name(request, name) if name in self.inputs else None
        if tensor is None:
            return default
        flat = tensor.as_numpy().flatten()
        return default if flat.size == 0 else flat[0]

    def words(self, request, name):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return [] if tensor is None else [word.decode() for word in tensor.as_numpy().flatten() if word]

    def body(self, request):
        prompt = self.value(request, "text_input").decode()
        if "sampling_parameters" in self.inputs:
            sampling = json.loads((self.value(request, "sampling_parameters", b"{}")).decode())
            if not isinstance(sampling.get("max_tokens", 16), int) or sampling.get("max_tokens", 16) < 1:
                raise ValueError("max_tokens must be at least 1")
            return {
                "prompt": prompt,
                "n_predict": sampling.get("max_tokens", 16),
                "temperature": sampling.get("temperature", 1.0),
                "top_p": sampling.get("top_p", 1.0),
                "top_k": max(0, sampling.get("top_k", 0)),
                "min_p": sampling.get("min_p", 0.0),
                "seed": sampling.get("seed") or 0,
                "stop": sampling.get("stop") or [],
            }
        return {
            "prompt": prompt,
            "n_predict": int(self.value(request, "max_tokens")),
            "temperature": float(self.value(request, "temperature", 1.0)),
            "top_p": float(self.value(request, "top_p", 1.0)),
            "top_k": int(self.value(request, "top_k", 0)),
            "min_p": 0.0,
            "seed": int(self.value(request, "seed", 0)),
            "stop": self.words(request, "stop_words"),
        }

    def generate(self, body, request, client):
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port)
        connection.request("POST", "/completion", json.dumps({**body, "stream": True}))
        over = threading.Event()
        watch = threading.Thread(target=client.leave_when_cancelled, args=(connection.sock, over), daemon=True)
        watch.start()
        try:
            self.stream(request, client, connection)
        except (OSError, http.client.HTTPException):
            # The connection was closed for a cancel, which ends the request in llama.cpp too.
            if not client.left:
                raise
        finally:
            over.set()
            watch.join()
            connection.close()

    def stream(self, request, client, connection):
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(json.loads(answer.read())["error"]["message"])
        wants = {name for name in self.inputs if name.startswith("return_") and bool(self.value(request, name, False))}
        told = 0
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            made = event["tokens_predicted"]
            reason = None if not event["stop"] else "length" if event["stop_type"] == "limit" else "stop"
            client.send(pb_utils.InferenceResponse(self.tensors(wants, event, made - told, made, reason)), last=event["stop"])
            told = made
            if event["stop"]:
                return
        raise http.client.IncompleteRead(b"")

    def tensors(self, wants, event, new, made, reason):
        tensors = [text("text_output", event["content"])]
        if "return_finish_reason" in wants:
            tensors.append(text("finish_reason", str(reason)))
        if "return_num_input_tokens" in wants:
            kind = np.uint32 if "sampling_parameters" in self.inputs else np.int32
            tensors.append(pb_utils.Tensor("num_input_tokens", np.asarray([event["tokens_evaluated"]], dtype=kind)))
        if "return_num_output_tokens" in wants:
            # vLLM's backend counts those of this response, TensorRT-LLM's all of the request.
            count = np.asarray([new], dtype=np.uint32) if "sampling_parameters" in self.inputs else np.asarray([made], dtype=np.int32)
            tensors.append(pb_utils.Tensor("num_output_tokens", count))
        if "cum_log_probs" in self.outputs:
            tensors.append(pb_utils.Tensor("cum_log_probs", np.zeros([1], dtype=np.float32)))
            tensors.append(pb_utils.Tensor("output_log_probs", np.zeros([1, 1], dtype=np.float32)))
            tensors.append(pb_utils.Tensor("sequence_index", np.zeros([1], dtype=np.int32)))
        return tensors


def text(name, value):
    return pb_utils.Tensor(name, np.array([value.encode()], dtype=np.object_))
