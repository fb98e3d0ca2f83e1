//go:build linux && cgo

package bridgetest

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module"
)

// plain makes "slots_off" and "SlotsOff" alike.
func plain(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

func TestEveryFieldOfGoLiesWhereCHasIt(t *testing.T) {
	facts := Facts()
	for name, v := range map[string]any{
		"gsgi_region_t":     bridge.Region{},
		"gsgi_stats_t":      bridge.Stats{},
		"gsgi_slot_t":       bridge.Slot{},
		"gsgi_chunk_head_t": bridge.ChunkHead{},
	} {
		typ := reflect.TypeOf(v)
		assert.EqualValues(t, facts[name], typ.Size(), "size of %s", name)
		offsets := make(map[string]int64)
		for fact, offset := range facts {
			if field, ok := strings.CutPrefix(fact, name+"."); ok {
				offsets[plain(field)] = offset
			}
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Name == "_" {
				continue
			}
			offset, ok := offsets[plain(f.Name)]
			assert.True(t, ok, "%s has no %s", name, f.Name)
			assert.EqualValues(t, offset, f.Offset, "offset of %s.%s", name, f.Name)
			delete(offsets, plain(f.Name))
		}
		assert.Empty(t, offsets, "fields of %s that Go does not have", name)
	}
	assert.EqualValues(t, bridge.EntrySize, facts["gsgi_entry_t"])
	assert.EqualValues(t, bridge.HeadSize, facts["gsgi_head_t"])
}

// constants of Go by the name in C.
var constants = map[string]int64{
	"ABI_MAJOR": bridge.ABIMajor, "ABI_MINOR": bridge.ABIMinor, "MAGIC": bridge.Magic,
	"SLOT_BYTES": bridge.SlotBytes, "CHUNK_BYTES": bridge.ChunkBytes, "SLOT_DATA": int64(bridge.SlotData),
	"REGION_RING":  bridge.FlagRing,
	"APP_STARTING": int64(bridge.AppStarting), "APP_READY": int64(bridge.AppReady),
	"APP_FAILED": int64(bridge.AppFailed), "APP_DRAINING": int64(bridge.AppDraining),
	"APP_STOPPED": int64(bridge.AppStopped),
	"LOG_PAD":     int64(bridge.LogPad), "LOG_EMERG": int64(bridge.LogEmerg), "LOG_ALERT": int64(bridge.LogAlert),
	"LOG_CRIT": int64(bridge.LogCrit), "LOG_ERROR": int64(bridge.LogError), "LOG_WARN": int64(bridge.LogWarn),
	"LOG_NOTICE": int64(bridge.LogNotice), "LOG_INFO": int64(bridge.LogInfo), "LOG_DEBUG": int64(bridge.LogDebug),
	"LOG_MAX":    bridge.LogMax,
	"CHUNK_DATA": int64(bridge.ChunkData), "CHUNK_FILE": int64(bridge.ChunkFile),
	"CHUNK_TRAILERS": int64(bridge.ChunkTrailers), "CHUNK_INTERIM": int64(bridge.ChunkInterim),
	"CHUNK_BLOCK": int64(bridge.ChunkBlock), "CHUNK_HEAD": int64(bridge.ChunkHeadMore),
	"SQ_NEW": int64(bridge.SQNew), "SQ_POKE": int64(bridge.SQPoke),
	"CQ_HEAD": int64(bridge.CQHead), "CQ_DATA": int64(bridge.CQData), "CQ_FLUSH": int64(bridge.CQFlush),
	"CQ_END": int64(bridge.CQEnd), "CQ_CUT": int64(bridge.CQCut), "CQ_READ": int64(bridge.CQRead),
	"CQ_CREDIT": int64(bridge.CQCredit), "CQ_UPGRADE": int64(bridge.CQUpgrade),
	"CQ_RELEASE": int64(bridge.CQRelease), "CQ_HOST_GONE": int64(bridge.CQHostGone),
	"REQ_HEAD": int64(bridge.ReqHead), "REQ_TLS": int64(bridge.ReqTLS), "REQ_CHUNKED": int64(bridge.ReqChunked),
	"REQ_EXPECT": int64(bridge.ReqExpect), "REQ_SENDFILE": int64(bridge.ReqSendfile),
	"REQ_KEEPALIVE": int64(bridge.ReqKeepalive), "REQ_UPGRADE": int64(bridge.ReqUpgrade),
	"REQ_TRAILERS": int64(bridge.ReqTrailers),
	"BODY_NONE":    int64(bridge.BodyNone), "BODY_INLINE": int64(bridge.BodyInline),
	"BODY_LIST": int64(bridge.BodyList), "BODY_FILE": int64(bridge.BodyFile), "BODY_STREAM": int64(bridge.BodyStream),
	"IN_OPEN": int64(bridge.InOpen), "IN_END": int64(bridge.InEnd), "IN_BROKEN": int64(bridge.InBroken),
	"IN_TOO_LARGE": int64(bridge.InTooLarge), "IN_TIMEOUT": int64(bridge.InTimeout),
	"HOST_ABORT": int64(bridge.HostAbort), "HOST_TIMEOUT": int64(bridge.HostTimeout),
	"HOST_STOP": int64(bridge.HostStop), "HOST_SPOOLED": int64(bridge.HostSpooled),
	"WAIT_NONE": int64(bridge.WaitNone), "WAIT_FUTEX": int64(bridge.WaitFutex), "WAIT_POLL": int64(bridge.WaitPoll),
	"ENTRY_META": int64(bridge.EntryMeta), "ENTRY_HEADER": int64(bridge.EntryHeader),
	"ENTRY_PARAM": int64(bridge.EntryParam),
	"HEAD_LENGTH": int64(bridge.HeadLength), "HEAD_CLOSE": int64(bridge.HeadClose),
	"HEAD_SPOOL":  int64(bridge.HeadSpool),
	"META_METHOD": int64(module.MetaMethod), "META_URI": int64(module.MetaURI), "META_PATH": int64(module.MetaPath),
	"META_SCRIPT_NAME": int64(module.MetaScriptName), "META_QUERY": int64(module.MetaQuery),
	"META_PROTOCOL": int64(module.MetaProtocol), "META_SCHEME": int64(module.MetaScheme),
	"META_SERVER_NAME": int64(module.MetaServerName), "META_SERVER_PORT": int64(module.MetaServerPort),
	"META_SERVER_ADDR": int64(module.MetaServerAddr), "META_REMOTE_ADDR": int64(module.MetaRemoteAddr),
	"META_REMOTE_PORT": int64(module.MetaRemotePort), "META_REMOTE_USER": int64(module.MetaRemoteUser),
	"META_AUTH_TYPE": int64(module.MetaAuthType), "META_DOCUMENT_ROOT": int64(module.MetaDocumentRoot),
	"META_REQUEST_ID": int64(module.MetaRequestID), "META_TLS_VERSION": int64(module.MetaTLSVersion),
	"META_TLS_CIPHER": int64(module.MetaTLSCipher), "META_TLS_SNI": int64(module.MetaTLSSNI),
	"META_TLS_ALPN": int64(module.MetaTLSALPN), "META_TLS_CLIENT_CERT": int64(module.MetaTLSClientCert),
	"META_TLS_RESUMED": int64(module.MetaTLSResumed), "META_MAX": int64(module.MetaTLSResumed) + 1,
}

func TestEveryConstantOfCIsThatOfGo(t *testing.T) {
	facts := Facts()
	for name, value := range constants {
		c, ok := facts["GSGI_"+name]
		assert.True(t, ok, "GSGI_%s is not in facts.c", name)
		assert.Equal(t, c, value, "GSGI_%s", name)
	}
}

// What is added to gsgi.h must be added to facts.c, and so to Go.
func TestFactsAreAllThatTheHeaderHas(t *testing.T) {
	header, err := os.ReadFile("../gsgi.h")
	require.NoError(t, err)
	defines := regexp.MustCompile(`(?m)^#define GSGI_([A-Z0-9_]+)[ \t]+(?:UINT64_C|[0-9])`).FindAllSubmatch(header, -1)
	require.NotEmpty(t, defines)
	for _, d := range defines {
		assert.Contains(t, constants, string(d[1]))
	}
	assert.Len(t, constants, len(defines))
}
