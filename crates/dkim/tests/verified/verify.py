"""Verifies messages by two implementations that know nothing of Skein: dkimpy and libopendkim.

usage: verify.py FOLDER  (with *.eml, and keys.txt: a name and its TXT record in each line)
prints, for each message and verifier: FILE VERIFIER RESULT..., a result for each signature
"""
import ctypes
import os
import sys

import dkim

folder = sys.argv[1]
keys_file = os.path.join(folder, "keys.txt")
with open(keys_file, encoding="ascii") as lines:
    KEYS = dict(line.rstrip("\n").split(" ", 1) for line in lines)

OPENDKIM = "libopendkim.so.11"
SET_OPTION, QUERY_METHOD, QUERY_INFO = 1, 6, 7
QUERY_FILE = ctypes.c_int(1)
SIGNATURE_PASSED, BODY_HASH_MATCHES = 0x04, 0


def dkimpy(message, signatures):
    results = []
    for index in range(signatures):
        try:
            verifier = dkim.DKIM(message, minkey=1024)
            is_good = verifier.verify(index, lambda name, timeout=5: KEYS[name.decode().rstrip(".")].encode())
            results.append("pass" if is_good else "fail")
        except Exception as error:
            results.append("error:" + repr(error).replace(" ", "_"))
    return results


class OpenDkim:
    def __init__(self):
        library = ctypes.CDLL(OPENDKIM)
        pointer = ctypes.c_void_p
        library.dkim_init.restype = pointer
        library.dkim_init.argtypes = [pointer, pointer]
        library.dkim_options.argtypes = [pointer, ctypes.c_int, ctypes.c_int, pointer, ctypes.c_size_t]
        library.dkim_verify.restype = pointer
        library.dkim_verify.argtypes = [pointer, ctypes.c_char_p, pointer, ctypes.POINTER(ctypes.c_int)]
        library.dkim_chunk.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
        library.dkim_eom.argtypes = [pointer, pointer]
        library.dkim_getsiglist.argtypes = [pointer, ctypes.POINTER(ctypes.POINTER(pointer)), ctypes.POINTER(ctypes.c_int)]
        library.dkim_sig_getflags.argtypes = [pointer]
        library.dkim_sig_getbh.argtypes = [pointer]
        library.dkim_free.argtypes = [pointer]
        self.library = library
        self.handle = library.dkim_init(None, None)
        library.dkim_options(self.handle, SET_OPTION, QUERY_METHOD, ctypes.byref(QUERY_FILE), ctypes.sizeof(QUERY_FILE))
        path = keys_file.encode()
        library.dkim_options(self.handle, SET_OPTION, QUERY_INFO, path, len(path) + 1)

    def verify(self, message):
        library, status = self.library, ctypes.c_int()
        one = library.dkim_verify(self.handle, b"id", None, ctypes.byref(status))
        for start in range(0, len(message), 1 << 16):
            piece = message[start:start + (1 << 16)]
            code = library.dkim_chunk(one, piece, len(piece))
            if code != 0:
                return [f"error:chunk:{code}"]
        library.dkim_chunk(one, None, 0)
        code = library.dkim_eom(one, None)
        signatures, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_int()
        library.dkim_getsiglist(one, ctypes.byref(signatures), ctypes.byref(count))
        results = []
        for index in range(count.value):
            flags = library.dkim_sig_getflags(signatures[index])
            body = library.dkim_sig_getbh(signatures[index])
            is_good = flags & SIGNATURE_PASSED and body == BODY_HASH_MATCHES
            results.append("pass" if is_good else f"fail:eom={code}:flags={flags}:body={body}")
        library.dkim_free(one)
        return results


opendkim = OpenDkim()
for name in sorted(os.listdir(folder)):
    if not name.endswith(".eml"):
        continue
    with open(os.path.join(folder, name), "rb") as file:
        message = file.read()
    found = opendkim.verify(message)
    print(name, "opendkim", *found)
    print(name, "dkimpy", *dkimpy(message, len(found)), flush=True)
