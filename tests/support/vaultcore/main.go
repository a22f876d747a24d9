// vaultcore serves HashiCorp Vault's own core with the transit engine and AppRole, and nothing
// of the full program: the tests' real Vault. It keeps its state in a folder, so that it comes
// back with its keys, and writes there what opens it (init.json: root token and unseal key).
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

// Core asks a registry for every built-in plugin that is mounted.
type registry map[string]logical.Factory

func (r registry) find(name string, kind consts.PluginType) (logical.Factory, bool) {
	wanted := map[string]consts.PluginType{
		"transit": consts.PluginTypeSecrets, "kv": consts.PluginTypeSecrets,
		"approle": consts.PluginTypeCredential,
	}
	factory, ok := r[name]
	return factory, ok && wanted[name] == kind
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r.find(name, kind)
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, ok := r.find(name, kind)
	return func() (interface{}, error) { return factory, nil }, ok
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r {
		if r.Contains(name, kind) {
			names = append(names, name)
		}
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

type initial struct {
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"`
}

func initialize(core *vault.Core, path string) initial {
	var ret initial
	text, err := os.ReadFile(path)
	if err == nil {
		check(json.Unmarshal(text, &ret))
		return ret
	}
	if !errors.Is(err, os.ErrNotExist) {
		log.Fatal(err)
	}
	result, err := core.Initialize(context.Background(), &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	check(err)
	ret = initial{result.RootToken, hex.EncodeToString(result.SecretShares[0])}
	text, err = json.Marshal(ret)
	check(err)
	check(os.WriteFile(path, text, 0o600))
	return ret
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	address := flag.String("listen", "127.0.0.1:8200", "address to listen on")
	folder := flag.String("state", "", "folder for the state")
	cert := flag.String("cert", "", "TLS certificate (PEM); empty: plain HTTP")
	key := flag.String("key", "", "TLS key (PEM)")
	flag.Parse()

	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn})
	physical, err := file.NewFileBackend(map[string]string{"path": filepath.Join(*folder, "data")}, logger)
	check(err)
	logicals := registry{"transit": transit.Factory, "kv": vault.PassthroughBackendFactory}
	credentials := registry{"approle": approle.Factory}
	builtin := registry{"approle": approle.Factory}
	for name, factory := range logicals {
		builtin[name] = factory
	}
	scheme := "http://"
	if *cert != "" {
		scheme = "https://"
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: physical, LogicalBackends: logicals, CredentialBackends: credentials,
		BuiltinRegistry: builtin, DisableMlock: true, Logger: logger,
		RedirectAddr: scheme + *address,
	})
	check(err)
	secrets := initialize(core, filepath.Join(*folder, "init.json"))
	unsealKey, err := hex.DecodeString(secrets.UnsealKey)
	check(err)
	_, err = core.Unseal(unsealKey)
	check(err)

	listener, err := net.Listen("tcp", *address)
	check(err)
	server := &http.Server{Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core})}
	if *cert != "" {
		log.Fatal(server.ServeTLS(listener, *cert, *key))
	}
	log.Fatal(server.Serve(listener))
}
