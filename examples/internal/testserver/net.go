// Package testserver has what the tests through real servers share: files,
// addresses, certificates and processes.
package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Clients get their ports from the range above, and must not take one that
// was chosen for a server which does not listen yet.
const firstPort, lastPort = 10_000, 32_767

var chosen struct {
	sync.Mutex
	ports map[int]bool
}

// Addresses chooses ports for servers, free on 127.0.0.1 and on ::1, and sets
// every address to 127.0.0.1:port. A port is chosen once in a process.
func Addresses(addrs ...*string) error {
	chosen.Lock()
	defer chosen.Unlock()
	if chosen.ports == nil {
		chosen.ports = make(map[int]bool)
	}
	for _, addr := range addrs {
		port, err := freePort()
		if err != nil {
			return err
		}
		chosen.ports[port] = true
		*addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	return nil
}

func freePort() (int, error) {
	for range 1000 {
		port := firstPort + mathrand.IntN(lastPort-firstPort+1)
		if !chosen.ports[port] && free("127.0.0.1", port) && free("::1", port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

func free(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Certificate makes one for localhost that signs itself, writes it to dir as
// cert.pem and key.pem, and returns it with the roots that a client needs.
func Certificate(dir string) (tls.Certificate, *x509.CertPool, error) {
	var none tls.Certificate
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return none, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none, nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	return cert, roots, errors.Join(err,
		os.WriteFile(filepath.Join(dir, "cert.pem"), certPEM, 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), keyPEM, 0o600))
}
