#!/usr/bin/env python3
"""A Redfish service of one system, for tests: HTTPS on loopback, its power in a file.

    redfish.py DIR      prints its port; DIR/off exists while the power is off

DIR/fingerprint is the SHA-256 of its certificate; DIR/calls gets a line for every request.  Files that make it misbehave: DIR/lie (says 204 to a reset
and does nothing), DIR/refuse (says 503), DIR/silent (says nothing).
"""
import base64
import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import time

USER, PASSWORD = 'admin', 'r3dfish-Secret'
SYSTEM = '/redfish/v1/Systems/1'
folder = sys.argv[1]


def there(name):
    return os.path.exists(os.path.join(folder, name))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def reply(self, status, body=None):
        data = b'' if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin(self):
        """False when the request was answered already."""
        with open(os.path.join(folder, 'calls'), 'a', encoding='utf-8') as f:
            f.write(f'{self.command} {self.path}\n')
        if there('silent'):
            time.sleep(600)
        want = 'Basic ' + base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()
        if self.headers.get('Authorization') == want:
            return True
        self.reply(401, {'error': {'code': 'Base.1.0.AccessDenied'}})
        return False

    def do_GET(self):
        if not self.begin():
            return
        if self.path == '/redfish/v1':
            self.reply(200, {'Systems': {'@odata.id': '/redfish/v1/Systems'}})
        elif self.path == '/redfish/v1/Systems':
            self.reply(200, {'Members': [{'@odata.id': SYSTEM}]})
        elif self.path == SYSTEM:
            self.reply(200, {'PowerState': 'Off' if there('off') else 'On',
                             'Actions': {'#ComputerSystem.Reset': {'target': SYSTEM + '/Reset'}}})
        else:
            self.reply(404, {'error': {}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if not self.begin():
            return
        if self.path != SYSTEM + '/Reset':
            self.reply(404, {'error': {}})
            return
        if there('refuse'):
            self.reply(503, {'error': {'code': 'Base.1.0.ServiceTemporarilyUnavailable'}})
            return
        how = json.loads(body)['ResetType']
        if not there('lie'):
            power = os.path.join(folder, 'off')
            if how == 'ForceOff':
                with open(power, 'w', encoding='utf-8'):
                    pass
            elif how == 'On' and there('off'):
                os.unlink(power)
        self.reply(204)


def main():
    cert, key = os.path.join(folder, 'cert.pem'), os.path.join(folder, 'key.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key,
                    '-out', cert, '-subj', '/CN=127.0.0.1', '-addext',
                    'subjectAltName=IP:127.0.0.1', '-days', '2'],
                   check=True, stderr=subprocess.DEVNULL)
    with open(cert, encoding='ascii') as f:
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(f.read())).hexdigest().upper()
    with open(os.path.join(folder, 'fingerprint'), 'w', encoding='ascii') as f:
        f.write(':'.join(digest[i:i + 2] for i in range(0, 64, 2)) + '\n')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
