package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// world is what all servers of a run share.
var world struct {
	dir     string // files that the workers may read
	library string // the test application
	roots   *x509.CertPool
	modules map[string]string
	env     []string // of the servers, besides that of the tests
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(world.dir)
	code := m.Run()
	if err := errors.Join(stopShared(), sanitizerReports()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

func prepare() error {
	if err := findModules(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/tmp", "gsgi-e2e-")
	if err != nil {
		return err
	}
	world.dir = dir
	if err := errors.Join(os.Chmod(dir, 0o755), writeFiles(dir), writeCertificate(dir)); err != nil {
		return err
	}
	if world.env, err = sanitizers(); err != nil {
		return err
	}
	world.library = filepath.Join(dir, "testapp.so")
	return build(world.library)
}

func build(library string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", library, "./testapp")
	if experiment := os.Getenv("GSGI_GOEXPERIMENT"); experiment != "" {
		cmd.Env = append(os.Environ(), "GOEXPERIMENT="+experiment)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testapp does not build: %w\n%s", err, out)
	}
	return os.Chmod(library, 0o755)
}

func findModules() error {
	world.modules = map[string]string{
		"nginx":  "../../build/out/ngx_http_gsgi_module.so",
		"apache": "../../build/out/mod_gsgi.so",
	}
	for server, variable := range map[string]string{
		"nginx":  "GSGI_NGINX_MODULE",
		"apache": "GSGI_APACHE_MODULE",
	} {
		if name := os.Getenv(variable); name != "" {
			world.modules[server] = name
		}
		path, err := filepath.Abs(world.modules[server])
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w (make build, or set %s)", err, variable)
		}
		world.modules[server] = path
	}
	return nil
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// writeFiles makes what the servers and the application serve as files. The
// large one is all holes, so that it costs no room.
func writeFiles(dir string) error {
	static := filepath.Join(dir, "static")
	if err := os.Mkdir(static, 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"static/hello.txt": "static hello\n",
		"static/ssi.shtml": "",
		"small.bin":        "0123456789abcdefghijklmnopqrstuvwxyz",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, size := range map[string]int64{"sparse.bin": gib, "medium.bin": 64 * mib, "static/large.bin": 16 * mib} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(size), f.Chmod(0o644), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
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
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	world.roots = x509.NewCertPool()
	world.roots.AppendCertsFromPEM(certPEM)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), certPEM, 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), keyPEM, 0o600))
}
